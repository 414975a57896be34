#include "net/drain.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "net/options.h"
#include "net/reactor_impl.h"

namespace warren::net {

namespace {

constexpr uint64_t kQuiet = 100;  // milliseconds
constexpr uint64_t kStarting = UINT64_MAX;

// What is not established yet is not quiet, nor is what has only just become so.
uint64_t trafficOf(const Connection& socket) {
  return socket.established() ? socket.bytesRead() + socket.bytesWritten() : kStarting;
}

}  // namespace

Drain::Drain(ReactorImpl& reactor, HandlerCell* cell, uint64_t deadline, DrainDone done)
    : reactor_(reactor),
      cell_(cell),
      done_(std::move(done)),
      tick_(std::clamp<uint64_t>(deadline / 4, 1, kQuiet)),
      deadline_(deadline == 0 ? 0 : Timers::clockUp() + deadline) {
  if (cell_ != nullptr) ++cell_->references;
  count();
  Result<TimerSlot*> timer = reactor_.startTask(tick_, tick_, [this] { tick(); });
  if (timer) timer_ = *timer;
  if (timer_ == nullptr) deadline_ = 0;
  if (pastDeadline()) cutAll();
}

Drain::~Drain() {
  if (timer_ != nullptr) reactor_.cancelTask(*timer_);
  if (cell_ != nullptr) reactor_.releaseCell(*cell_);
}

// Closed sockets stay linked until the sweep, so a visit may close any of them.
template <class Visit>
void Drain::forEachSocket(const Visit& visit) const {
  const auto visitCell = [&](const HandlerCell& cell) {
    for (uint32_t at = cell.firstSocket; at != kNone;) {
      auto* socket = static_cast<Connection*>(reactor_.slab().at(at));
      at = socket->nextInCell();
      visit(*socket);
    }
  };
  if (cell_ != nullptr) return visitCell(*cell_);
  for (const HandlerCell* cell = reactor_.cells(); cell != nullptr; cell = cell->next) {
    visitCell(*cell);
  }
}

bool Drain::finished() const {
  return cell_ != nullptr ? cell_->firstSocket == kNone : reactor_.socketCount() == 0;
}

void Drain::tell() {
  if (done_) reactor_.dispatch(nullptr, [&] { done_({seen_ - cut_, cut_}); });
}

// Sockets dialed after the deadline are refused; those that were there and come late to it are cut by
// the next tick. A turn that takes long skips ticks, and puts nothing off.
void Drain::tick() { pastDeadline() ? cutAll() : endQuiet(); }

// Sockets may come while it drains: each counts once.
void Drain::count() {
  std::unordered_map<uint64_t, uint64_t> now;
  forEachSocket([&](Connection& socket) {
    if (socket.state() == State::closed) return;
    const uint64_t number = socket.handle().number();
    if (!traffic_.contains(number)) ++seen_;
    now[number] = trafficOf(socket);
  });
  traffic_.swap(now);
}

void Drain::endQuiet() {
  const std::unordered_map<uint64_t, uint64_t> before = traffic_;
  count();
  forEachSocket([&](Connection& socket) {
    if (!socket.established() || socket.full()) return;
    const auto last = before.find(socket.handle().number());
    const bool quiet = last != before.end() && last->second == trafficOf(socket);
    if (quiet) socket.end({});
  });
}

void Drain::cutAll() {
  count();
  forEachSocket([&](Connection& socket) {
    if (socket.state() == State::closed || !traffic_.contains(socket.handle().number())) return;
    ++cut_;
    socket.cut();
  });
}

// --- the reactor's part ----------------------------------------------------------------------------

Result<void> ReactorImpl::drain(Listener* listener, Duration deadline, DrainDone done) {
  if (Result<void> alive = checkAlive(); !alive) return alive;
  if (Result<void> checked = checkDuration(deadline, "deadline"); !checked) return checked;
  HandlerCell* cell = listener != nullptr ? listener->cell() : nullptr;
  drains_.push_back(std::make_unique<Drain>(*this, cell, deadline.count(), std::move(done)));
  if (listener != nullptr) {
    listener->stop(false);
  } else {
    stopListeners();
  }
  return {};
}

void ReactorImpl::stopListeners() {
  std::vector<base::SlotId> all;
  for (HandlerCell* cell = cells_; cell != nullptr; cell = cell->next)
    all.push_back(cell->listener);
  // Stopping one may be the end of its table, and of whatever that holds: another listener, perhaps.
  for (const base::SlotId id : all) {
    if (Listener* listener = findListener(id)) listener->stop(false);
  }
}

void ReactorImpl::finishDrains() {
  for (size_t at = 0; at < drains_.size();) {
    if (!drains_[at]->finished()) {
      ++at;
      continue;
    }
    const std::unique_ptr<Drain> drain = std::move(drains_[at]);
    drains_.erase(drains_.begin() + static_cast<std::ptrdiff_t>(at));
    drain->tell();
  }
}

}  // namespace warren::net
