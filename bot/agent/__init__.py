"""The agent: one loop over the ports, the prompt as a projection of the log, the model behind LiteLLM, the tools."""
