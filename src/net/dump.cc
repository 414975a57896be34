// What a reactor looks like, for people.
#include <algorithm>
#include <string>
#include <string_view>

#include "net/reactor_impl.h"

namespace warren::net {

namespace {

std::string counted(size_t count, std::string_view noun) {
  return std::to_string(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

std::string_view stateName(State state) {
  switch (state) {
    case State::connecting:
      return "connecting";
    case State::handshaking:
      return "handshaking";
    case State::greeting:
      return "greeting";
    case State::open:
      return "open";
    case State::lingering:
      return "lingering";
    case State::closed:
      break;
  }
  return "closed";
}

std::string remaining(Timers& timers, uint32_t index) {
  if (index == kNone) return {};
  const TimerSlot& timer = timers.at(index);
  const uint64_t now = timers.clock();
  return std::to_string(timer.deadline - std::min(timer.deadline, now)) + "ms";
}

}  // namespace

std::string Connection::describe() const {
  static constexpr struct {
    uint32_t flag;
    std::string_view name;
  } kNames[] = {
      {kReadable, "readable"},     {kWritable, "writable"},     {kEnded, "ended"},
      {kPaused, "paused"},         {kMuted, "muted"},           {kReadDone, "read-done"},
      {kFinOwed, "fin-owed"},      {kFinSent, "fin-sent"},      {kWriteDead, "write-dead"},
      {kDrainOwed, "drain-owed"},  {kCorked, "corked"},         {kBounded, "bounded"},
      {kOnReadyList, "on-ready"},  {kOnFlushList, "on-flush"},  {kRetired, "retired"},
      {kReferenced, "referenced"}, {kUnpausable, "unpausable"},
  };
  std::string line = "socket " + std::to_string(index) + " " + std::string(stateName(state_));
  if (family_ != Family::none) line += " " + remoteAddress().text();
  if (state_ == State::connecting && cold() != nullptr && cold()->dialer != nullptr) {
    line += " to " + cold()->dialer->target();
  }
  for (const auto& [flag, name] : kNames) {
    if (has(flag)) line.append(" ").append(name);
  }
  if (queued() > 0) line += " outbox=" + std::to_string(queued());
  Timers& timers = reactor().timers();
  if (links_.timeout != kNone) line += " timeout=" + remaining(timers, links_.timeout);
  if (state_ != State::closed && deadline_ != kNone) {
    line += " deadline=" + remaining(timers, deadline_);
  }
  return line;
}

std::string ReactorImpl::dump() const {
  std::string text = "reactor: kept running by " + counted(references_, "reference");
  const std::optional<uint64_t> next = nextDeadline();
  text += next ? ", next turn in " + std::to_string(*next) + "ms" : ", waiting for events";
  if (readyHead_ != kNone) text += ", ready list";
  if (!flushList_.empty()) text += ", flush list";
  if (!retired_.empty()) text += ", " + counted(retired_.size(), "socket") + " to sweep";
  if (!deferred_.empty()) text += ", " + counted(deferred_.size(), "deferred function");
  if (mailbox_.hasPosted()) text += ", posted functions";
  if (!uncaught_.empty()) text += ", " + counted(uncaught_.size(), "exception") + " to throw";
  text += "\n";
  for (const HandlerCell* cell = cells_; cell != nullptr; cell = cell->next) {
    const auto* listener = static_cast<const Listener*>(slab_.find(cell->listener));
    if (listener != nullptr) text += listener->describe() + "\n";
    for (uint32_t at = cell->firstSocket; at != kNone;) {
      const auto* socket = static_cast<const Connection*>(slab_.at(at));
      text += (listener != nullptr ? "  " : "") + socket->describe() + "\n";
      at = socket->nextInCell();
    }
  }
  return text;
}

std::string Listener::describe() const {
  std::string line = "listener " + std::to_string(index);
  for (const Endpoint& endpoint : binding_.endpoints) line += " " + endpoint.address.text();
  if (!binding_.unixPath.empty()) {
    line += " " +
            (binding_.unixPath[0] == '\0' ? "@" + binding_.unixPath.substr(1) : binding_.unixPath);
  }
  if (stopped_) line += " stopped";
  if (paused_) line += " paused";
  if (starved_) line += " starved";
  return line + " open=" + std::to_string(stats().open);
}

}  // namespace warren::net
