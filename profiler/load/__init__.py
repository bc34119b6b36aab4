"""Load on a running server: requests at their exact times, every token's time, our one definition of the metrics."""
