"""A page in the browser in which a trained model fills in images: `vqkit app`.

`session`, `cards`, `holes`, `codes_used`, `html` and `actions` turn a run, an image and what is ticked into pictures, numbers and
HTML, and know nothing of Gradio. `page` lays these out with it, `serving` and `guard` answer requests.
"""
