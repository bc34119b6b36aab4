"""The product: which deployment serves this traffic within this SLO for the least money, and how sure that is."""
