"""HTTP paths of the service."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
    # The admin's own style sheets, straight from the packages; a proxy in front may serve STATIC_ROOT instead.
    path("static/<path:path>", serve, {"insecure": True}),
]
