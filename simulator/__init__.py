"""The model of LLM serving: what a deployment costs in time, and what its users see."""
