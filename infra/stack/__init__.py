"""Where S3, MLflow and Ray are: the user's own, or an embedded stack on this machine."""
