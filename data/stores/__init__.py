"""What is kept on a disk or S3: the chunk store of recordings and the store of embeddings."""
