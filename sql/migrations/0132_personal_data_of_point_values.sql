-- docs/data-map.md is made of these comments.
COMMENT ON COLUMN loyalty.point_value.author IS
    'Personal data of staff. Who decided it.';
