-- As on the other tables that grow with every sale: the check of each row cost more than the row, and members cannot be deleted.
ALTER TABLE loyalty.member_dirty DROP CONSTRAINT member_dirty_member_id_fkey;
