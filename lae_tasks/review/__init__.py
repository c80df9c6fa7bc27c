"""The review loop: what goes to Label Studio and what comes back."""
