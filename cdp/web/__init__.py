"""The pages: what people without any program meet. They work without JavaScript; htmx only adds live parts."""
