//! The measured config record: canonical CBOR made by the packager. It is trusted content of the package, so a record
//! that does not decode is a defect of the packager and stops the kernel.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use minicbor::data::Type;
use minicbor::Decoder;
use mystikos_platform::sync::Once;

/// What the kernel reads of the config; the names are those of the config's keys.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Config {
    pub application_path: Vec<u8>,
    pub application_parameters: Vec<Vec<u8>>,
    pub host_application_parameters: bool,
    pub environment_variables: Vec<Vec<u8>>,
    pub host_environment_variables: Vec<Vec<u8>>,
    pub current_working_directory: Vec<u8>,
    pub hostname: String,
    pub debug: bool,
    pub exec_stack: bool,
    pub fork_mode: String,
    pub main_stack_size: u64,
    pub max_affinity_cpus: u64,
    pub max_threads: u64,
    pub memory_size: u64,
    pub no_brk: bool,
    pub syslog_level: String,
    pub thread_stack_size: u64,
    pub unhandled_syscall_enosys: bool,
}

static CONFIG: Once<Config> = Once::new();

/// The config; panics before [`init`].
pub fn config() -> &'static Config {
    CONFIG.get().expect("config used before it is read")
}

/// Decodes the record and keeps it.
pub fn init(record: &[u8]) -> &'static Config {
    CONFIG.call_once(|| decode(record).expect("the measured config record does not decode"))
}

type Decoded<T> = core::result::Result<T, minicbor::decode::Error>;

fn decode(record: &[u8]) -> Decoded<Config> {
    let mut d = Decoder::new(record);
    let mut config = Config::default();
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.str()? {
            "ApplicationPath" => config.application_path = d.bytes()?.to_vec(),
            "ApplicationParameters" => config.application_parameters = strings(&mut d)?,
            "HostApplicationParameters" => config.host_application_parameters = d.bool()?,
            "EnvironmentVariables" => config.environment_variables = strings(&mut d)?,
            "HostEnvironmentVariables" => config.host_environment_variables = strings(&mut d)?,
            "CurrentWorkingDirectory" => config.current_working_directory = d.bytes()?.to_vec(),
            "Hostname" => config.hostname = d.str()?.to_string(),
            "Debug" => config.debug = d.bool()?,
            "ExecStack" => config.exec_stack = d.bool()?,
            "ForkMode" => config.fork_mode = d.str()?.to_string(),
            "MainStackSize" => config.main_stack_size = d.u64()?,
            "MaxAffinityCPUs" => config.max_affinity_cpus = d.u64()?,
            "MaxThreads" => config.max_threads = d.u64()?,
            "MemorySize" => config.memory_size = d.u64()?,
            "NoBrk" => config.no_brk = d.bool()?,
            "SyslogLevel" => config.syslog_level = d.str()?.to_string(),
            "ThreadStackSize" => config.thread_stack_size = d.u64()?,
            "UnhandledSyscallEnosys" => config.unhandled_syscall_enosys = d.bool()?,
            _ => d.skip()?,
        }
    }
    Ok(config)
}

fn strings(d: &mut Decoder<'_>) -> Decoded<Vec<Vec<u8>>> {
    debug_assert!(matches!(d.datatype(), Ok(Type::Array)));
    let count = d.array()?.unwrap_or(0);
    (0..count).map(|_| d.bytes().map(<[u8]>::to_vec)).collect()
}
