"""A Binance on loopback, for tests, the demo and development: the same wire format, limits and endings."""

from collectors.exchange.archive import Habits
from collectors.exchange.clock import VirtualClock
from collectors.exchange.limits import Limits
from collectors.exchange.market import GeneratedMarket, Market
from collectors.exchange.recording import Recording
from collectors.exchange.server import Exchange

__all__ = ["Exchange", "GeneratedMarket", "Habits", "Limits", "Market", "Recording", "VirtualClock"]
