from django.contrib import admin
from django.urls import include, path
from unfold.admin import ModelAdmin

import kck_flow.admin
from kck_flow.registry import registry
from tests.accounts.models import Account, Branch
from tests.admin import declared as own

for one in (*own.PRIMERS, *own.COUNTED):
    if one.key_base not in registry.primers:
        registry.register(one)


@admin.register(Account)
class AccountAdmin(ModelAdmin):
    list_display = ("id", "state", "plan")


kck_flow.admin.extend(admin.site)


@admin.register(Branch)
class BranchAdmin(ModelAdmin):
    """With nothing of ours."""

    list_filter = search_fields = ("name",)


urlpatterns = [path("admin/", admin.site.urls), path("x/y/", include("kck_flow.urls"))]
