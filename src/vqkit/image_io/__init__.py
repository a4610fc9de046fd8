"""Reading and writing images: pictures, arrays and tables of conditions."""
