"""A run's page: one HTML file for somebody who has never seen this project.

Law: made from the summary and the history's file, after the run; it judges nothing.
The page is complete in itself: no script, style, font or picture from elsewhere.
"""

from .page import REPORT_FILE, write_page

__all__ = ["REPORT_FILE", "write_page"]
