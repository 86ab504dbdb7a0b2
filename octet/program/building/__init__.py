"""From a `Plan` to a graph of `nn` modules. All that needs torch to read a program is in here."""
