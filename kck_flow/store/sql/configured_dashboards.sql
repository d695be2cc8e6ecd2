-- The dashboards that are stored as rows and not hidden, in order.
SELECT slug, label, description, permission, position FROM kck_dashboard WHERE NOT hidden ORDER BY position, slug
