"""What is only for speed: how a large read is mapped and stored.

`read.BulkRead` is the one object that others use; nothing of it is needed to understand what
happens to a sale. It puts together:

- `map_threads`: pages become batches, mapped in threads while further pages arrive;
- `map_process`: a second process that maps, since Python uses one core at a time;
- `spool`: mapped batches wait in a temporary file, so that memory does not follow the read's size;
- `overlapped_store`: the store transaction runs while pages still arrive;
- `prefetch`: the next batch is judged while the database takes the one before.
"""
