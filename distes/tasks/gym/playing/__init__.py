"""One policy in one environment: played, recorded, filmed."""
