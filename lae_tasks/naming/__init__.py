"""Names: how crops are asked about, what replies say, and how names become categories."""
