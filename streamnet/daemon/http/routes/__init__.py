"""Endpoints of the operations, a module for each group; a new module adds its line here."""

from streamnet.daemon.http.routes import models, monitoring, predictions, samples, shadows
from streamnet.daemon.http.service import Endpoint

__all__ = ("ENDPOINTS",)

ENDPOINTS: dict[str, Endpoint] = {
    **predictions.ENDPOINTS,
    **samples.ENDPOINTS,
    **monitoring.ENDPOINTS,
    **models.ENDPOINTS,
    **shadows.ENDPOINTS,
}
