#include "tls/roots.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/catch.h"
#include "support/certificates.h"

namespace warren::test {
namespace {

using tls::readRoots;
using tls::RootPlaces;
using tls::rootPlaces;

// A directory with a file of two roots, one of one root, and one of rubbish.
struct Places {
  Places() {
    std::filesystem::create_directories(path / "below");
    std::ofstream(path / "two.pem") << testAuthority().cert << "words\n" << testLeaf().cert;
    std::ofstream(path / "one.pem") << testAuthority().cert;
    std::ofstream(path / "rubbish") << "-----BEGIN CERTIFICATE-----\n";
  }
  ~Places() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }

  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("warren-roots-" + std::to_string(getpid()));
};

// Sets a variable for as long as it lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    const char* const before = std::getenv(name);
    if (before != nullptr) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { before_.empty() ? unsetenv(name_) : setenv(name_, before_.c_str(), 1); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string before_;
};

TEST_CASE("the first file that has roots is the one") {
  const Places places;
  CHECK(readRoots({{"/no/such/file", places.file("two.pem"), places.file("one.pem")}, {}}).size() ==
        2);
  CHECK(readRoots({{places.file("rubbish"), places.file("one.pem")}, {}}).size() == 1);
  CHECK(readRoots({{"/no/such/file"}, {"/no/such/directory"}}).empty());
}

TEST_CASE("a directory is read only where no file has roots, and all of it") {
  const Places places;
  CHECK(readRoots({{"/no/such/file"}, {places.path.string()}}).size() == 3);
  CHECK(readRoots({{places.file("one.pem")}, {places.path.string()}}).size() == 1);
}

TEST_CASE("what the environment names is read, all of it, in place of the usual places") {
  const Places places;
  {
    const Variable file("SSL_CERT_FILE", places.file("one.pem"));
    const Variable directory("SSL_CERT_DIR", ":" + places.path.string() + "::/no/such");
    const RootPlaces named = rootPlaces();
    CHECK(named.files == std::vector<std::string>{places.file("one.pem")});
    CHECK(named.directories == std::vector<std::string>{places.path.string(), "/no/such"});
    CHECK(readRoots(named).size() == 4);
  }
  {
    const Variable file("SSL_CERT_FILE", places.file("one.pem"));
    const Variable directory("SSL_CERT_DIR", "");
    CHECK(readRoots(rootPlaces()).size() == 1);
  }
  const Variable file("SSL_CERT_FILE", "");
  const Variable directory("SSL_CERT_DIR", "");
  CHECK(rootPlaces().files.size() > 4);
  CHECK(rootPlaces().directories.size() > 2);
}

TEST_CASE("the system's roots are read once") {
  CHECK(&tls::systemRoots() == &tls::systemRoots());
  CHECK(tls::systemRoots().store != nullptr);
}

}  // namespace
}  // namespace warren::test
