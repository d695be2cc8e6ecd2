from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('kck_flow', '0006_books'),
    ]

    operations = [
        # One index for both: each delta that a writer appends has one entry.
        migrations.RemoveIndex(
            model_name='delta',
            name='kck_delta_key',
        ),
        migrations.RunSQL(
            'ALTER TABLE kck_delta DROP CONSTRAINT kck_delta_pkey, ADD PRIMARY KEY (generation, args_digest, id)',
            'ALTER TABLE kck_delta DROP CONSTRAINT kck_delta_pkey, ADD PRIMARY KEY (id)',
        ),
    ]
