"""PURE. Configuration text -> tokens -> tree -> model, with the place of everything kept."""
