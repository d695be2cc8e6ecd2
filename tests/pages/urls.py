from django.urls import include, path

urlpatterns = [path("x/y/", include("kck_flow.urls"))]
