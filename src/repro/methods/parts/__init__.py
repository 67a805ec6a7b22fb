"""Building blocks of methods, in torch: what a method's `build` puts together. Method modules import them lazily."""
