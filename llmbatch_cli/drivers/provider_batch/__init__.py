"""The driver of the providers' batch APIs: rows become jobs that outlive the process."""
