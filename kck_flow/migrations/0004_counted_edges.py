from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('kck_flow', '0003_recounts'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='edge',
            index=models.Index(condition=models.Q(('version_read', None)), fields=['upstream'], name='kck_edge_counted'),
        ),
    ]
