from django.urls import include, path

urlpatterns = [path("", include("kck_flow.urls"))]
