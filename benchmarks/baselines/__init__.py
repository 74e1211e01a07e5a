"""What the product is measured against: dlt doing the same load, and PostgreSQL's COPY and merge as floor."""
