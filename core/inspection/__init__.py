"""What a model's attention says of a picture, named and drawn: shared by techniques.

parts       segments of a picture and their names
segments    parts as pictures and records
heat        heat maps of words
inspector   all of these for the pictures that a job draws
"""
