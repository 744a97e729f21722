"""What a training reads: prepared rows from a store, held or streamed, and the windows cut from them."""
