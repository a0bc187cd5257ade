"""Models as programs of other languages and runtimes, which need no streamnet."""
