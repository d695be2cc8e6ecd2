from django.contrib import admin
from django.urls import include, path

import kck_flow.admin
from tests.accounts.models import Account
from tests.shop.models import Customer

if not admin.site.is_registered(Account):

    @admin.register(Account)
    class AccountAdmin(admin.ModelAdmin):
        list_display = ("id", "state", "plan")
        search_fields = ("plan",)
        actions = ("praise",)

        @admin.action(description="Praise")
        def praise(self, request, queryset):
            queryset.update(note="praised")

    admin.site.register(Customer)

office = admin.AdminSite(name="office")
kck_flow.admin.register(office)
office.register(Account)
for one in (admin.site, office):
    kck_flow.admin.extend(one)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("office/", office.urls),
    path("x/y/", include("kck_flow.urls")),
]
