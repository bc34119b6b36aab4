"""How a deployment is run: commands and manifests of engines. It decides nothing."""
