"""Small programs that rows run in processes of their own."""
