"""HTTP paths of the service."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path

from messaging.views import ObtainToken, RefreshToken, RevokeToken

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/token/", ObtainToken.as_view()),
    path("api/token/refresh/", RefreshToken.as_view()),
    path("api/token/revoke/", RevokeToken.as_view()),
    # The admin's own style sheets, straight from the packages; a proxy in front may serve STATIC_ROOT instead.
    path("static/<path:path>", serve, {"insecure": True}),
]
