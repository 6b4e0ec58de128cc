from django.db import migrations


class Migration(migrations.Migration):
    """Each worker asks every two seconds which tokens have been revoked since; simplejwt's table has no index for it."""

    dependencies = [
        ("messaging", "0001_initial"),
        ("token_blacklist", "0012_alter_outstandingtoken_user"),
    ]

    operations = [
        migrations.RunSQL(
            "CREATE INDEX revoked_since ON token_blacklist_blacklistedtoken (blacklisted_at)",
            "DROP INDEX revoked_since",
        ),
    ]
