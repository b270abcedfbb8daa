"""Who may do what: tenants, keys, roles and quotas."""
