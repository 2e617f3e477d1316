"""Files: which ones are meant, what they are, opening them, their text layer, and OCR.

What stands above may import it. It knows PDFium, Pillow and Tesseract, as no other room does, and
not what a region is, nor in which process it runs.
"""
