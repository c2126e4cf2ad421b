"""From finished runs to a report, and from a report to a comparison."""
