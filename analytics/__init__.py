"""Pure arithmetic on trades and price histograms; every number is defined in docs/analytics.md."""
