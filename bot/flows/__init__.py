"""The stories of onhand, told through the ports: a delivery comes in, a request is admitted, a run works, a result is shown."""
