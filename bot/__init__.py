"""The product: everything of onhand that knows no provider, no sandbox engine and no queue by name."""
