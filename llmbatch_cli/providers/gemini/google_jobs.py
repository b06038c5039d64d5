"""What Google's jobs have in common, on the Developer API and on Vertex AI."""

from urllib.parse import quote

from llmbatch_cli.core.types import WireRequest
from llmbatch_cli.providers.batch_api import BatchWire, Http


class GoogleJobs(BatchWire):
    """Jobs that are named by a path, and cancelled by a method of theirs."""

    async def cancel(self, http: Http, job: str) -> None:
        reply = await http.get(self._of(job, ":cancel", {}, method="POST"))
        if reply.status not in (400, 404, 409):  # it has ended
            self.json(reply)

    def _of(
        self, job: str, more: str = "", body: object = None, *, method: str = "GET"
    ) -> WireRequest:
        return self.request(method, f"/{quote(job, safe='/')}{more}", body)
