import kck_flow.admin
from django.contrib import admin
from django.urls import include, path

kck_flow.admin.extend(admin.site)  # lists of the members of a stock, and what moved a row

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("kck_flow.urls")),
]
