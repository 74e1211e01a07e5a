"""`python -m api`: the API alone, as `twezah up` and `twezah api` start it."""

from api.serve import serve
from settings import settings

if __name__ == "__main__":
    serve(settings())
