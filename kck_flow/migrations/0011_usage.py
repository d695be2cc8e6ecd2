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
        migrations.CreateModel(
            name='Usage',
            fields=[
                ('pk', models.CompositePrimaryKey('key_base', 'hour', blank=True, editable=False, primary_key=True, serialize=False)),
                ('key_base', models.TextField()),
                ('hour', models.DateTimeField()),
                ('fresh', models.BigIntegerField(db_default=0)),
                ('stale', models.BigIntegerField(db_default=0)),
                ('missed', models.BigIntegerField(db_default=0)),
                ('failed', models.BigIntegerField(db_default=0)),
            ],
            options={
                'db_table': 'kck_usage',
            },
        ),
    ]
