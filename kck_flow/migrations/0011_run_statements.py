from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('kck_flow', '0010_metrics'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='statements',
            field=models.JSONField(null=True),
        ),
    ]
